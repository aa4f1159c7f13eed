"""What modules, the keeper and the tests share: pure, typed, standard library only."""
