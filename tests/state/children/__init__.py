"""Programs that the tests of shared state run as processes of their own, to kill them."""
