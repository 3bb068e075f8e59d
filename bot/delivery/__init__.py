"""Cards and files to chats: each stored message is synchronised with its chat."""
