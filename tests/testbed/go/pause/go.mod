// Builds the pause program of the testbed's pod sandboxes.
module jobwright.dev/testbed/pause

go 1.26.0
