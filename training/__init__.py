"""How models/tiny is made: render, train the vision tower, train the language model, evaluate, export."""
