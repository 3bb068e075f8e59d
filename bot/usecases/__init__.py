"""What people can do, one transaction each."""
