"""Activity of hidden units on a text, and the features they follow."""
