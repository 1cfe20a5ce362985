"""Stores that a user's own Python class makes: found by dotted path, called from threads, tried out before they are trusted."""
