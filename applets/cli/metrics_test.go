package cli

import "testing"

// TestPreferred: which format a reader of metrics gets.
func TestPreferred(t *testing.T) {
	for _, c := range []struct {
		accept []string
		want   string
	}{
		{nil, formatPrometheus},
		{[]string{"*/*"}, formatPrometheus},
		{[]string{"text/html,application/xhtml+xml,*/*;q=0.8"}, formatPrometheus},
		{[]string{"application/openmetrics-text"}, formatOpenMetrics},
		{[]string{"application/openmetrics-text;version=0.0.1"}, ""},
		// Prometheus 2 and 3
		{[]string{"application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4," +
			"text/plain;version=0.0.4;q=0.3,*/*;q=0.2"}, formatOpenMetrics},
		{[]string{"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4," +
			"text/plain;version=0.0.4;q=0.3,*/*;q=0.2"}, formatOpenMetrics},
		{[]string{"text/plain;version=0.0.4;q=0.9", "application/openmetrics-text;version=1.0.0;q=0.8"}, formatPrometheus},
		{[]string{"text/plain;q=0.1, application/openmetrics-text;q=0"}, formatPrometheus},
		{[]string{"text/*;q=0.5, */*;q=0.9"}, formatOpenMetrics},
		{[]string{"*/*;q=0"}, ""},
		{[]string{"image/png"}, ""},
		{[]string{"text/plain;q=7, text/plain;q=0.2"}, formatPrometheus},
	} {
		if got := preferred(c.accept); got != c.want {
			t.Errorf("%q: %q, want %q", c.accept, got, c.want)
		}
	}
}
