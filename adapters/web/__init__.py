"""The local web page, its API and the operator endpoints, by aiohttp."""
