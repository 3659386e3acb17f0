package rpc

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/zinit/zinit/rpc/conform"
	"github.com/zinit/zinit/rpc/wire"
)

// TestRecordedExchanges plays framing and errors against the server with a backend that knows one service, as the
// recorded 0.3.9 did. What differs must stand in DIFFERENCES.md. Package conform replays all of them against the
// real binary.
func TestRecordedExchanges(t *testing.T) {
	table, err := conform.LoadDifferences("../testdata/conform/DIFFERENCES.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, scenario := range []string{"framing", "errors"} {
		t.Run(scenario, func(t *testing.T) {
			fake := newFake("a")
			fake.lines = []wire.LogLine{{Content: "out", Stream: "stdout", TimestampMS: 1795504272662, Service: "a"},
				{Content: "err", Stream: "stderr", TimestampMS: 1795504272663, Service: "a"}}
			fake.logs = func(q LogQuery) ([]wire.LogLine, error) {
				for _, name := range q.Names {
					if _, err := fake.find(name); err != nil {
						return nil, err
					}
				}
				if q.Stream == "stderr" {
					return fake.lines[1:], nil
				}
				return fake.lines, nil
			}
			server := serveFake(t, fake, ServerOptions{})
			want, err := conform.Load(filepath.Join("../testdata/wire/transcripts", scenario+".jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			steps, err := conform.LoadSteps(filepath.Join("../testdata/wire/cfg", scenario, "steps.json"), nil)
			if err != nil {
				t.Fatal(err)
			}
			player := conform.Player{Socket: server.path, Timeout: time.Second}
			got, err := player.Play(steps)
			if err != nil {
				t.Fatal(err)
			}
			for _, open := range table.Explain(scenario, conform.Compare(want, got)) {
				t.Errorf("not explained: %v", open)
			}
			for _, known := range table {
				for _, r := range known.Where {
					if r.Scenario == scenario && known.Hits == 0 {
						t.Errorf("%s explains nothing any more", known.ID)
					}
				}
			}
		})
	}
}
