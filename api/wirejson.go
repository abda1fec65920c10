package api

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// setVersionJSON is setVersion for an object in JSON: it sets, or drops, the member
// resourceVersion of the top-level metadata. JSON that is not such an object is copied as it is.
func setVersionJSON(raw []byte, version string) []byte {
	var obj map[string]json.RawMessage
	var meta map[string]json.RawMessage
	if json.Unmarshal(raw, &obj) != nil || obj == nil {
		return bytes.Clone(raw)
	}
	if m, ok := obj["metadata"]; ok && json.Unmarshal(m, &meta) != nil {
		return bytes.Clone(raw)
	}
	if meta == nil {
		meta = map[string]json.RawMessage{}
	}
	delete(meta, "resourceVersion")
	if version != "" {
		meta["resourceVersion"] = json.RawMessage(strconv.Quote(version))
	}
	var err error
	if obj["metadata"], err = json.Marshal(meta); err != nil {
		return bytes.Clone(raw)
	}
	out, err := json.Marshal(obj)
	if err != nil {
		return bytes.Clone(raw)
	}
	return out
}
