"""What is known of names: the `tree`, how it is learnt (`catalog`) and changed (`namespace`), and what hangs on a name beside its bytes."""
