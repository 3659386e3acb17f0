package probe

import "time"

const (
	// detailMax bounds a detail, in bytes.
	detailMax = 300
	// headerMax bounds the header of an answer.
	headerMax = 64 << 10
	// bodyMax is how much of an answer is read at most, bodyPatience for how long: a program that has sent its page is not to
	// see a reset, while one that sends for ever is not to hold up the check. What counts is the status.
	bodyMax      = 8 << 20
	bodyPatience = time.Second
	// bodyShown is how much of the beginning is looked at for a line to show when the status is wrong.
	bodyShown = 4096
)
