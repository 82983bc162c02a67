"""Looking inside: reports for people, of a model, a program or a descriptor."""
