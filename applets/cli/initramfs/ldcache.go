package initramfs

import (
	"bytes"
	"encoding/binary"
	"os"
	"sync"
)

const cacheFile = "/etc/ld.so.cache"

// The layout of the C library's loader cache: a header, then one record a library whose key and value are offsets of
// strings from the header. Before it an older table may stand, which is skipped.
const (
	cacheMagic      = "glibc-ld.so.cache1.1"
	oldCacheMagic   = "ld.so-1.7.0\x00"
	cacheHeader     = 48
	cacheRecord     = 24
	oldCacheHeader  = 16
	oldCacheRecord  = 12
	cacheHwcapAt    = 16 // in a record
	maxCacheEntries = 1 << 20
)

var (
	cacheMu sync.Mutex
	caches  = map[string]map[string][]string{}
)

// cachedLibraries returns the paths of each library's name in the loader's cache, those for every processor first. A
// cache that is missing or cannot be read is empty: the default directories are searched anyway.
func cachedLibraries(file string) map[string][]string {
	cacheMu.Lock()
	defer cacheMu.Unlock()
	if known, ok := caches[file]; ok {
		return known
	}
	data, err := os.ReadFile(file)
	if err != nil {
		data = nil
	}
	caches[file] = parseCache(data)
	return caches[file]
}

func parseCache(data []byte) map[string][]string {
	data = skipOldTable(data)
	if len(data) < cacheHeader || !bytes.HasPrefix(data, []byte(cacheMagic)) {
		return nil
	}
	count := int(binary.NativeEndian.Uint32(data[len(cacheMagic):]))
	if count < 0 || count > maxCacheEntries || cacheHeader+count*cacheRecord > len(data) {
		return nil
	}
	plain, special := map[string][]string{}, map[string][]string{}
	for i := range count {
		record := data[cacheHeader+i*cacheRecord:]
		name := stringAt(data, binary.NativeEndian.Uint32(record[4:]))
		file := stringAt(data, binary.NativeEndian.Uint32(record[8:]))
		if name == "" || file == "" {
			continue
		}
		if binary.NativeEndian.Uint64(record[cacheHwcapAt:]) == 0 {
			plain[name] = append(plain[name], file)
		} else {
			special[name] = append(special[name], file)
		}
	}
	for name, files := range special {
		plain[name] = append(plain[name], files...)
	}
	return plain
}

func skipOldTable(data []byte) []byte {
	if !bytes.HasPrefix(data, []byte(oldCacheMagic)) || len(data) < oldCacheHeader {
		return data
	}
	count := int(binary.NativeEndian.Uint32(data[len(oldCacheMagic):]))
	end := (oldCacheHeader + count*oldCacheRecord + 7) &^ 7
	if count < 0 || count > maxCacheEntries || end > len(data) {
		return nil
	}
	return data[end:]
}

func stringAt(data []byte, offset uint32) string {
	if uint64(offset) >= uint64(len(data)) {
		return ""
	}
	rest := data[offset:]
	end := bytes.IndexByte(rest, 0)
	if end < 0 {
		return ""
	}
	return string(rest[:end])
}
