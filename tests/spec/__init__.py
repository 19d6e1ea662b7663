"""SPEC, row by row: the names, values and worked examples that the user wrote down."""
