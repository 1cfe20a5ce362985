"""`python -m storemount`."""

from storemount.cli import main

main()
