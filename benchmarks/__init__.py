"""What is measured against what: the code of `covid-debug bench`, yardsticks and annotations."""
