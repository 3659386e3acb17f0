package rpc

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestScannerAgreesWithJSON(t *testing.T) {
	for _, text := range []string{
		`{}`, `[]`, `null`, `true`, `false`, `0`, `-0`, `1.5e+10`, `""`, `"a\u00e9\n\/"`, ` { "a" : [ 1 , { } ] } `, `{"a":{"b":[[]]}}`,
		``, `   `, `{`, `}`, `[`, `]`, `{]`, `[}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `[1,]`, `[,1]`, `[1 2]`, `{,}`, `{"a":1 "b":2}`, `{1:2}`,
		`01`, `-`, `1.`, `.5`, `1e`, `1e+`, `+1`, `0x1`, `tru`, `nul`, `falsey`, `"`, `"\`, `"\x"`, `"\u12"`, `"\u12g4"`, "\"\t\"",
		`{"a":1}}`, `[1]]`, `NaN`, `'a'`, `{"a":1}{`, "\ufeff{}", `[1,,2]`, `"\ud800"`, `{"a":1,"a":2}`, `{"a"`, `[1`, `[[`, `{"a":`,
	} {
		s := scanner{data: []byte(text)}
		err := s.value(0)
		if err == nil && (s.space() != 0 || s.pos < len(text)) {
			err = s.fail("trailing characters")
		}
		if valid := json.Valid([]byte(text)); valid != (err == nil) {
			t.Errorf("%q: %v, encoding/json says %v", text, err, valid)
		}
	}
}

func TestNesting(t *testing.T) {
	for _, c := range []struct {
		depth int
		ok    bool
	}{{1, true}, {maxNesting, true}, {maxNesting + 1, false}, {100000, false}} {
		for _, pair := range []string{"[]", "{}"} {
			open, shut := `[`, `]`
			if pair == "{}" {
				open, shut = `{"a":`, `}`
			}
			text := strings.Repeat(open, c.depth) + "1" + strings.Repeat(shut, c.depth)
			s := scanner{data: []byte(text)}
			if err := s.value(0); (err == nil) != c.ok {
				t.Errorf("%d of %s: %v", c.depth, pair, err)
			}
		}
	}
}

func FuzzScanner(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.5e3,"x\u00e9",null,true]}`, `[[[{}]]]`, `"\ud83d\ude00"`, `-0.0`, "{\"a\"\t:1}", `[1,2`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := scanner{data: data}
		err := s.value(0)
		if err == nil && (s.space() != 0 || s.pos < len(data)) {
			err = s.fail("trailing characters")
		}
		if s.pos > len(data) {
			t.Fatalf("read to %d of %d bytes", s.pos, len(data))
		}
		if deep := strings.Count(string(data), "[")+strings.Count(string(data), "{") > maxNesting; deep {
			return
		}
		if valid := json.Valid(data); valid != (err == nil) && utf8.Valid(data) {
			t.Fatalf("%q: %v, encoding/json says %v", data, err, valid)
		}
	})
}
