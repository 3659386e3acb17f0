package supervisor

import "time"

const (
	// maxServices is how many services and targets may be loaded where limits.services says nothing.
	maxServices = 20000
	// quickAnswer is how long a change without wait looks whether it is finished at once, so that its answer can say so.
	quickAnswer = 250 * time.Millisecond
	// diskPatience is how long an answer waits for what the files of a service say now.
	diskPatience = 2 * time.Second
	// fewFiles is up to how many definitions the table of descriptors need not be grown ahead of the start, and
	// spareDescriptors what the server needs beside the two log pipes of each service.
	fewFiles         = 10
	spareDescriptors = 128
	// writtenMax bounds the list of files that the server wrote, in bytes; from half of it on it is written anew.
	writtenMax = 8 << 20
	// selfTestLimit is how long the self test of a new executable may take.
	selfTestLimit = 10 * time.Second
)
