"""From a data set and its text regions to COVIDx++, with proof of what was changed."""
