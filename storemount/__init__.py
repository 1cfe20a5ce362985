"""storemount: an artifact store as an ordinary folder."""

__version__ = "0.1.0"
