"""storemount: an artifact store as an ordinary folder."""
