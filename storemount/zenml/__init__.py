"""ZenML's artifact stores by their names. Nothing of storemount's own process imports ZenML; see `names`."""
