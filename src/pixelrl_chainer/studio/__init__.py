"""The studio: a local web application in which people steer the agents."""
