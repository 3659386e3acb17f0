package rpc

// endNotification tells a stream's reader that the server ends it in order.
const endNotification = "end"

type method struct{ repeatable bool }

func lookup(name string) *method { return nil }
