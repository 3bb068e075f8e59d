"""The history of a person: list, search, favourites."""
