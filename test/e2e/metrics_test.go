package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
)

// parseMetrics is the Python client of Prometheus: it takes no text that is against its format, and tells what it read.
const parseMetrics = `
import json, sys
text = sys.stdin.read()
if sys.argv[1] == "openmetrics":
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as families
else:
    from prometheus_client.parser import text_string_to_metric_families as families
out = {}
for f in families(text):
    for s in f.samples:
        key = s.name + "".join("|%s=%s" % kv for kv in sorted(s.labels.items()))
        assert key not in out, key
        out[key] = [f.type, s.value]
json.dump(out, sys.stdout)
`

// sample is the type of a family and the value of one of its samples.
type sample struct {
	kind  string
	value float64
}

func scrape(t *testing.T, s *testkit.Server, format string) map[string]sample {
	t.Helper()
	text, errs, code := s.Zinit("metrics", "--format", format)
	if code != 0 {
		t.Fatalf("zinit metrics: %d, %s", code, errs)
	}
	return parsed(t, text, format)
}

// parsed is what the parser of a format reads.
func parsed(t *testing.T, text, format string) map[string]sample {
	t.Helper()
	parse := exec.Command("/usr/bin/python3", "-c", parseMetrics, format)
	parse.Stdin = strings.NewReader(text)
	var problem strings.Builder
	parse.Stderr = &problem
	out, err := parse.Output()
	var read map[string][2]any
	if err != nil || json.Unmarshal(out, &read) != nil {
		t.Fatalf("%s: %v %s\n%s", format, err, problem.String(), text)
	}
	got := map[string]sample{}
	for key, pair := range read {
		got[key] = sample{pair[0].(string), pair[1].(float64)}
	}
	return got
}

// TestMetrics: what services, checks, logs and jobs did stands in the metrics, in both formats, by the parsers of others.
func TestMetrics(t *testing.T) {
	need.That(t, exec.Command("/usr/bin/python3", "-c", "import prometheus_client.openmetrics.parser").Run() == nil, "python3-prometheus-client")
	s := testkit.Start(t, map[string]string{
		"web.toml": "[service]\nname = \"web\"\nexec = \"sh -c 'echo line; exec sleep 1000'\"\n[lifecycle]\nrestart_delay_ms = 1\n" +
			"[health]\ntype = \"exec\"\ntarget = \"true\"\ninterval_ms = 100\n[logging]\nfile = \"" + t.TempDir() + "/web.log\"\n",
		"bad.toml":  "[service]\nname = \"bad\"\nexec = \"sh -c 'exit 3'\"\n[schedule]\ncalendar = \"2099-01-01 UTC\"\n",
		"slow.toml": "[service]\nname = \"slow\"\nexec = \"sleep 1000\"\n[schedule]\ncron = \"* * * * * *\"\n",
		"up.toml":   "[target]\nname = \"up\"\n[dependencies]\nrequires = [\"web\"]\n",
	}, testkit.Options{Env: []string{"ZINIT_STATE_DIR=" + t.TempDir()}})
	c := s.Client()
	s.AwaitState(c, "web", "running")
	if _, err := c.Kill(t.Context(), "web", "SIGKILL"); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := s.Zinit("run", "bad"); code != 3 {
		t.Fatalf("run: %d, %s", code, errs)
	}
	s.Await("a run of slow that is left out", func() bool {
		return scrape(t, s, "openmetrics")["zinit_job_left_out_runs_total|rule=the run before has not ended|service=slow"].value > 0
	})
	s.AwaitState(c, "web", "running")
	s.Await("a health check that passed", func() bool {
		return scrape(t, s, "openmetrics")["zinit_service_health_check_passed|service=web"].value == 1
	})
	s.Await("what slow uses, which is read again after 5 s", func() bool {
		got := scrape(t, s, "openmetrics")
		return got["zinit_service_tasks|service=slow"].value == 1 && got["zinit_service_memory_bytes|service=web"].value > 0
	})
	want := map[string]float64{
		"zinit_service_state|service=web|zinit_service_state=running": 1,
		"zinit_service_state|service=web|zinit_service_state=failed":  0,
		"zinit_service_state|service=bad|zinit_service_state=failed":  1,
		"zinit_service_state|service=up|zinit_service_state=running":  1,
		"zinit_service_wanted|service=bad":                            1,
		"zinit_service_ready|service=web":                             1,
		"zinit_service_starts_total|cause=load|service=web":           1,
		"zinit_service_starts_total|cause=restart|service=web":        1,
		"zinit_service_restarts_total|reason=signal|service=web":      1,
		"zinit_service_exits_total|code=|service=web|signal=SIGKILL":  1,
		"zinit_service_exits_total|code=3|service=bad|signal=":        1,
		"zinit_service_starts_total|cause=asked|service=bad":          1,
		"zinit_service_log_lines_total|service=web":                   2,
		"zinit_service_log_dropped_lines_total|service=web":           0,
		"zinit_service_sink_lines_total|service=web|to=file":          2,
		"zinit_service_tasks|service=slow":                            1,
		"zinit_job_last_run_success|service=bad":                      0,
		"zinit_job_running|service=slow":                              1,
		"zinit_job_running|service=bad":                               0,
		"zinit_job_next_run_timestamp_seconds|service=bad":            4070908800,
		"zinit_service_health_checks_total|result=failed|service=web": 0,
		"zinit_server_starts_total":                                   1,
	}
	above := []string{"zinit_service_memory_bytes|service=web", "zinit_service_health_checks_total|result=passed|service=web",
		"process_start_time_seconds", "process_resident_memory_bytes", "zinit_events_total", "zinit_service_start_time_seconds|service=web",
		"zinit_job_last_run_timestamp_seconds|service=bad", "zinit_service_health_check_duration_seconds_total|service=web"}
	for _, format := range []string{"openmetrics", "prometheus"} {
		got := scrape(t, s, format)
		for key, value := range want {
			if have, ok := got[key]; !ok || have.value != value {
				t.Errorf("%s: %s is %v (%v), want %v", format, key, have.value, ok, value)
			}
		}
		for _, key := range above {
			if got[key].value <= 0 {
				t.Errorf("%s: %s is %v", format, key, got[key])
			}
		}
		for key, have := range got {
			if strings.HasSuffix(key, "|service=up") && strings.Contains(key, "memory") {
				t.Errorf("%s: a target uses memory: %s %v", format, key, have)
			}
		}
	}
	kinds := scrape(t, s, "openmetrics")
	if k := kinds["zinit_service_state|service=web|zinit_service_state=running"].kind; k != "stateset" {
		t.Errorf("the states are a %s", k)
	}
}

// TestMetricsServed: a service that serves the metrics of its own server, in the format that the reader wants, through an upgrade.
func TestMetricsServed(t *testing.T) {
	need.That(t, exec.Command("/usr/bin/python3", "-c", "import prometheus_client.openmetrics.parser").Run() == nil, "python3-prometheus-client")
	port := freePort(t)
	o := keeping(t)
	o.Applet = "pid1"
	s := testkit.Start(t, map[string]string{
		"metrics.toml": fmt.Sprintf("[service]\nname = \"metrics\"\nexec = [%q, \"metrics\", \"--listen\", \"127.0.0.1:%d\"]\n"+
			"[health]\ntype = \"http\"\ntarget = \"http://127.0.0.1:%d/metrics\"\n", testkit.Binary(t, ""), port, port),
	}, o)
	c := s.Client()
	s.AwaitState(c, "metrics", "running")
	get := func(accept string) (status int, kind, text string) {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/metrics", port), nil)
		if accept != "" {
			r.Header.Set("Accept", accept)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, answer.Header.Get("Content-Type"), string(body)
	}
	const ours = "zinit_service_state|service=metrics|zinit_service_state=running"
	for _, when := range []string{"before", "after"} {
		status, kind, text := get("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2")
		if got := parsed(t, text, "openmetrics"); status != 200 || kind != "application/openmetrics-text; version=1.0.0; charset=utf-8" || got[ours].value != 1 {
			t.Errorf("%s: %d %s %v", when, status, kind, got[ours])
		}
		status, kind, text = get("")
		if got := parsed(t, text, "prometheus"); status != 200 || kind != "text/plain; version=0.0.4; charset=utf-8" || got[ours].value != 1 {
			t.Errorf("%s: %d %s %v", when, status, kind, got[ours])
		}
		if status, _, text = get("image/png"); status != http.StatusNotAcceptable {
			t.Errorf("%s: %d %s", when, status, text)
		}
		if _, stderr, code := s.Zinit("upgrade"); code != 0 {
			t.Fatal(stderr)
		}
	}
	if _, stderr, code := s.Zinit("stop", "metrics"); code != 0 {
		t.Error(stderr)
	}
	if st := s.AwaitState(c, "metrics", "exited"); st.State.ExitCode == nil || *st.State.ExitCode != 0 {
		t.Errorf("it ended as %+v", st.LastExit)
	}
}
