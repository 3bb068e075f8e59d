"""Drawing: the checks of a request, its admission, source images, styles, and actions on jobs."""
