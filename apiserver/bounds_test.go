package apiserver

import "testing"

// TestCount: what managers own need not count in an object that becomes a Go type; all else does, wherever it stands.
func TestCount(t *testing.T) {
	const fields = `{"f:a":{},"f:b":{},"f:c":{"f:d":{}}}` // counts 7
	for name, tt := range map[string]struct {
		doc  string
		less int
	}{
		"of an object":                    {`{"metadata":{"name":"x","managedFields":[{"manager":"a","fieldsV1":` + fields + `},{"fieldsV1":` + fields + `}]}}`, 14},
		"behind other lists and objects":  {`{"a":[[{}]],"metadata":{"labels":{"b":"c"},"managedFields":[{"time":{},"fieldsV1":` + fields + `}]}}`, 7},
		"of a template":                   {`{"spec":{"template":{"metadata":{"managedFields":[{"fieldsV1":` + fields + `}]}}}}`, 0},
		"of a default":                    {`{"spec":{"default":{"fieldsV1":` + fields + `}}}`, 0},
		"of a default beside an object's": {`{"metadata":{"managedFields":[]},"spec":{"a":[{"fieldsV1":` + fields + `}]}}`, 0},
		"deeper in an object's":           {`{"metadata":{"managedFields":[{"a":{"fieldsV1":` + fields + `}}]}}`, 0},
		"in a list in an object's":        {`{"metadata":{"managedFields":[[{"fieldsV1":` + fields + `}]]}}`, 0},
		"of other metadata":               {`{"x":{"managedFields":[{"fieldsV1":` + fields + `}]}}`, 0},
		"where a text is called so":       {`{"a":"\"metadata\":{","managedFields":[{"fieldsV1":` + fields + `}]}`, 0},
		"a text within":                   {`{"metadata":{"managedFields":[{"fieldsV1":{"f:}\"{":{}}}],"labels":{"a":"b","c":"d"}}}`, 2},
		"malformed":                       {`{"metadata":{"managedFields":[{"fieldsV1":{"f:`, 1},
		"closed too often":                {`}]}{"metadata":{"managedFields":[{"fieldsV1":` + fields + `}]}}`, 7},
	} {
		t.Run(name, func(t *testing.T) {
			all, _, _ := count([]byte(tt.doc), false)
			some, _, _ := count([]byte(tt.doc), true)
			if all-some != tt.less {
				t.Errorf("of %d values %d do not count, want %d", all, all-some, tt.less)
			}
		})
	}
}
