"""How good the answers are: scores against labels, in the vocabulary of the layout that has them."""
