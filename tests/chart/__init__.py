"""The statechart: conformance pairs, examples of every rule, and properties of random charts."""
