"""SQL of the history: the search index, saved searches and favourites."""
