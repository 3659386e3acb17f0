package logring_test

import (
	"fmt"
	"time"

	"github.com/zinit/zinit/logring"
)

func ExampleArena() {
	arena, err := logring.New(4 << 20)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer arena.Close()

	ring := arena.Ring("web", logring.Limits{Lines: 3})
	for i := range 5 {
		ring.Append(logring.Record{TimeMS: time.Now().UnixMilli(), Text: fmt.Appendf(nil, "line %d", i)})
	}
	for _, rec := range ring.Last(10, nil) { // the oldest have gone
		fmt.Println(rec.Seq, string(rec.Text))
	}
	// Output:
	// 3 line 2
	// 4 line 3
	// 5 line 4
}

func ExampleArena_Follow() {
	arena, err := logring.New(4 << 20)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer arena.Close()

	follower := arena.Follow([]string{"web"}, map[string]uint64{"web": 1})
	defer follower.Close()
	arena.Ring("web", logring.Limits{}).Append(logring.Record{Text: []byte("hello")})
	<-follower.C
	for batch, ok := follower.Next(100); ok; batch, ok = follower.Next(100) {
		for _, rec := range batch.Records {
			fmt.Println(batch.Service, string(rec.Text))
		}
	}
	// Output: web hello
}
