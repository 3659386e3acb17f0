package openmetrics

import (
	"fmt"
	"testing"
)

// BenchmarkText: what a scrape of 1,000 services writes.
func BenchmarkText(b *testing.B) {
	names := make([]string, 1000)
	for i := range names {
		names[i] = fmt.Sprintf("service-%04d", i)
	}
	for b.Loop() {
		m := New(OpenMetrics, 1<<20)
		m.Family("zinit_service_state", StateSet, "", "The state of each service.")
		for _, name := range names {
			for _, state := range []string{"inactive", "blocked", "starting", "running", "stopping", "exited", "failed"} {
				m.Sample(0, "service", name, "zinit_service_state", state)
			}
		}
		for range 12 {
			m.Family("zinit_service_log_lines", Counter, "", "Lines that it wrote.")
			for i, name := range names {
				m.Sample(float64(i), "service", name)
			}
		}
		b.SetBytes(int64(len(m.String())))
	}
}
