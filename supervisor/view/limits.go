package view

const (
	// EventsKept is how many transitions events.get can go back.
	EventsKept = 8192
	// waitingNames is how many services a line about what a stop of everything waits for names.
	waitingNames = 8
)
