"""The database, the files of the data folder, and the rows that several features share."""
