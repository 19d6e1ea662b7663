"""What a proposal is shown with: a regression test for the CI of the manifests, and whom the repair touches."""
