"""Class priors of one person: recorded, fitted and applied."""
