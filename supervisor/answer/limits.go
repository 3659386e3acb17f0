package answer

import "time"

const (
	// logLinesStatus is how many lines status shows.
	logLinesStatus = 10
	// statsWindow is the least time between two readings from which cpu_percent is computed.
	statsWindow = time.Second
	// usageAge is how old the memory and CPU time of services in metrics may be.
	usageAge = 5 * time.Second
	// metricsSize is about how many bytes of metrics a service has.
	metricsSize = 1 << 10
	// maxReadings bounds the readings of incarnations that are long gone.
	maxReadings = 20000
	// readBatch is how many lines or events a follower takes at a time.
	readBatch = 512
)
