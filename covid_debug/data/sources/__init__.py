"""One module per public data set of chest radiographs."""
