package api

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// setVersionJSON is setVersion for an object in JSON: it sets, or drops, the member
// resourceVersion of the top-level metadata. JSON that is not such an object is copied as it is.
func setVersionJSON(raw []byte, version string) []byte {
	if out, ok := spliceVersion(raw, version); ok {
		return out
	}
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

// spliceVersion is setVersionJSON for an object as we write it: compact, its members in order. false: it is another.
func spliceVersion(raw []byte, version string) ([]byte, bool) {
	const member = "resourceVersion"
	var before [2]string // the member before, of the object and of its metadata
	from, to := -1, -1   // what stands in its place, with the comma behind it
	depth, meta := 0, 0  // meta is 1 where metadata comes, 2 within it, 3 behind it
	last := false        // the member that is read is resourceVersion
	for at := 0; at < len(raw); at++ {
		switch c := raw[at]; {
		case c <= ' ' || c == '<' || c == '>' || c == '&':
			return nil, false // it may be written otherwise
		case c == '"':
			start, escaped := at+1, false
			for at++; at < len(raw) && raw[at] != '"'; at++ {
				switch c := raw[at]; {
				case c == '\\':
					escaped = true
					at++
				case c == '<' || c == '>' || c == '&' || c == 0xe2: // which begins what is escaped for JavaScript
					return nil, false
				}
			}
			if at+2 >= len(raw) || raw[at+1] != ':' || depth != 1 && (depth != 2 || meta != 2) {
				continue
			}
			name := string(raw[start:at])
			if escaped || name <= before[depth-1] {
				return nil, false
			}
			before[depth-1] = name
			switch {
			case depth == 1 && name == "metadata":
				if raw[at+2] != '{' {
					return nil, false
				}
				meta = 1
			case depth == 1:
			case name == member:
				from, last = start-1, true
			case last:
				to, last = start-1, false
			case name > member && from < 0:
				from, to = start-1, start-1
			}
		case c == '{' || c == '[':
			if depth++; meta == 1 {
				meta = 2
			}
		case c == '}' || c == ']':
			if depth--; meta == 2 && depth == 1 {
				meta = 3
				if from < 0 {
					from = at
				}
				if to < 0 {
					to = at
				}
			}
		}
	}
	if meta != 3 || depth != 0 {
		return nil, false
	}
	out := make([]byte, 0, len(raw)+len(version)+len(member)+6)
	out = append(out, raw[:from]...)
	if end := raw[to] == '}'; version == "" {
		if end && out[len(out)-1] == ',' {
			out = out[:len(out)-1]
		}
	} else {
		if end && out[len(out)-1] != ',' && out[len(out)-1] != '{' {
			out = append(out, ',')
		}
		out = append(append(append(out, `"`+member+`":"`...), version...), '"')
		if !end {
			out = append(out, ',')
		}
	}
	return append(out, raw[to:]...), true
}
