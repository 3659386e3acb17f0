package openmetrics

import (
	"math"
	"testing"
)

// TestFormats: what the two formats make of the same families, and how odd values and labels are written.
func TestFormats(t *testing.T) {
	write := func(f Format) string {
		m := New(f, 0)
		m.Family("never", Gauge, "", "Has no sample.")
		m.Family("a_build", Info, "", "One \\ and a \"quote\".")
		m.Sample(1, "version", "0.4")
		m.Family("a_cpu_seconds", Counter, "seconds", "Time.")
		m.Sample(0.25)
		m.Family("a_state", StateSet, "", "State.")
		m.Sample(1, "a_state", "up", "name", "x\n\"\\\xff")
		m.Family("a_time_seconds", Gauge, "seconds", "When.")
		m.Sample(1796096232.081)
		m.Sample(math.Inf(1), "name", "inf")
		return m.String()
	}
	want := map[Format]string{
		OpenMetrics: `# TYPE a_build info
# HELP a_build One \\ and a \"quote\".
a_build_info{version="0.4"} 1
# TYPE a_cpu_seconds counter
# UNIT a_cpu_seconds seconds
# HELP a_cpu_seconds Time.
a_cpu_seconds_total 0.25
# TYPE a_state stateset
# HELP a_state State.
a_state{a_state="up",name="x\n\"\\` + "\uFFFD" + `"} 1
# TYPE a_time_seconds gauge
# UNIT a_time_seconds seconds
# HELP a_time_seconds When.
a_time_seconds 1796096232.081
a_time_seconds{name="inf"} +Inf
# EOF
`,
		Prometheus: `# TYPE a_build_info gauge
# HELP a_build_info One \\ and a "quote".
a_build_info{version="0.4"} 1
# TYPE a_cpu_seconds_total counter
# HELP a_cpu_seconds_total Time.
a_cpu_seconds_total 0.25
# TYPE a_state gauge
# HELP a_state State.
a_state{a_state="up",name="x\n\"\\` + "\uFFFD" + `"} 1
# TYPE a_time_seconds gauge
# HELP a_time_seconds When.
a_time_seconds 1796096232.081
a_time_seconds{name="inf"} +Inf
`,
	}
	for f, text := range want {
		if got := write(f); got != text {
			t.Errorf("%s:\n%s", f, got)
		}
	}
}
