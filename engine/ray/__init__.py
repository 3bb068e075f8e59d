"""Drawing on the machines of a Ray cluster; Ray carries the messages, and everything else is as on one machine."""
