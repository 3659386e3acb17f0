package proc

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"maps"
	"slices"

	"github.com/zinit/zinit/graph"
)

// Inputs are digests of what a service reads from other files at a start: 0 = it has none of that
// kind, or its start was made by a server that did not know.
type Inputs struct {
	EnvFile     uint64 `json:"env_file,omitempty"`
	EnvFromFile uint64 `json:"env_from_file,omitempty"`
	Credentials uint64 `json:"credentials,omitempty"`
}

// ReadInputs reads them as they are now. It blocks as the file system does. An error is that of the
// start which would follow.
func ReadInputs(c *graph.Config) (Inputs, *Error) {
	var in Inputs
	if len(c.EnvFiles) > 0 {
		d := newDigest()
		for _, path := range c.EnvFiles {
			file, err := ReadEnvFile(path, c)
			if err != nil {
				return Inputs{}, err
			}
			for _, v := range file.Vars {
				d.add(v.Name, v.Value)
			}
		}
		in.EnvFile = d.sum()
	}
	if len(c.EnvFromFile) > 0 {
		e, d := environment{}, newDigest()
		if err := e.addSecrets(c); err != nil {
			return Inputs{}, err
		}
		d.add(e.list...)
		in.EnvFromFile = d.sum()
	}
	if len(c.Credentials) > 0 {
		d := newDigest()
		for _, name := range slices.Sorted(maps.Keys(c.Credentials)) {
			data, err := readCredential(c, name)
			if err != nil {
				return Inputs{}, err
			}
			d.add(name, string(data))
		}
		in.Credentials = d.sum()
	}
	return in, nil
}

// Changed lists the keys whose files say something else now.
func (in Inputs) Changed(now Inputs) []string {
	var keys []string
	for _, k := range []struct {
		key         string
		before, now uint64
	}{{"credentials", in.Credentials, now.Credentials}, {"env_file", in.EnvFile, now.EnvFile},
		{"env_from_file", in.EnvFromFile, now.EnvFromFile}} {
		if k.before != 0 && k.now != 0 && k.before != k.now {
			keys = append(keys, k.key)
		}
	}
	return keys
}

// digest is of a list of texts. It is kept in memory only; it tells that a secret changed, not what
// it is.
type digest struct{ hash.Hash }

func newDigest() digest { return digest{sha256.New()} }

func (d digest) add(texts ...string) {
	for _, text := range texts {
		_, _ = d.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(text))))
		_, _ = d.Write([]byte(text))
	}
}

func (d digest) sum() uint64 { return max(1, binary.LittleEndian.Uint64(d.Sum(nil))) }
