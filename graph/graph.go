package graph

// ID is the dense index of a service or target in one Graph, by name order. A reload makes a new Graph with new IDs.
type ID int32

// None is no ID.
const None ID = -1

// Signal is a signal number of signal(7), 1 to 64.
type Signal int32
