"""What holds engines to the contract: builders, invariants, the contract kit, the race simulator. Needs pytest."""
