package openapi

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"k8s.io/kube-openapi/pkg/validation/spec"
)

// v2 describes everything in one document. Source: OpenAPI Specification 2.0.
func (h *Handler) v2() (any, error) {
	m := newModels(false)
	infos := h.all()
	var list []path
	for _, of := range described(h.infos) {
		list = append(list, discovery(of[0].Group, of[0].Version))
	}
	for _, i := range infos {
		list = append(list, paths(i)...)
	}
	for _, p := range fixed(infos) {
		list = append(list, p)
	}
	all, common := doc{}, common{said: doc{}, names: map[string]string{}}
	for _, p := range list {
		item := doc{}
		var err error
		if own := p.shared(); len(own) > 0 {
			if item["parameters"], err = common.share(describe(own, false)); err != nil {
				return nil, err
			}
		}
		for _, op := range p.ops {
			out := m.operation(op)
			var params []doc
			switch {
			case op.patches != nil:
				params = append(params, doc{"name": "body", "in": "body", "required": true, "schema": m.patchRef()})
				out["consumes"] = op.patches
			case !op.body.none():
				body := doc{"name": "body", "in": "body", "schema": m.refKind(op.body)}
				if !op.may {
					body["required"] = true
				}
				params, out["consumes"] = append(params, body), op.sent()
			case op.action == "" && op.answer.none(): // what is text to clients says nothing
			case op.action == "", op.custom, op.method != "get" || slices.Equal(op.media, anyMedia):
				out["consumes"] = op.media
			default:
				out["consumes"] = anyMedia
			}
			if params = append(params, describe(op.query, false)...); len(params) > 0 {
				if out["parameters"], err = common.share(params); err != nil {
					return nil, err
				}
			}
			out["responses"] = op.responses(doc{"schema": m.answered(op)})
			out["schemes"], out["produces"] = []string{"https"}, op.media
			item[op.method] = out
		}
		all[p.url] = item
	}
	m.kindsOf()
	return doc{"swagger": "2.0", "info": h.info(), "paths": all, "definitions": m.schemas, "parameters": common.said,
		"securityDefinitions": doc{"BearerToken": doc{"type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header"}},
		"security":            []doc{{"BearerToken": []string{}}}}, nil
}

// common are the parameters that the document says once, by their names and a hash.
type common struct {
	said  doc
	names map[string]string // by what they say
}

// share gives references to parameters in place of them, but for those that clients look for in place.
func (c common) share(list []doc) ([]doc, error) {
	for n, p := range list {
		name, _ := p["name"].(string)
		s, _ := p["schema"].(doc)
		of, _ := s["$ref"].(string)
		if name == "name" || name == "fieldValidation" || name == "dryRun" || name == "body" && !strings.HasPrefix(of, "#/definitions/io.k8s.apimachinery") {
			continue
		}
		data, err := json.Marshal(p)
		if err != nil {
			return nil, err
		}
		if c.names[string(data)] == "" {
			var as spec.Parameter // the hash is of its form, as upstream's is
			if err := json.Unmarshal(data, &as); err != nil {
				return nil, fmt.Errorf("parameter %s: %w", name, err)
			}
			text, err := json.Marshal(as)
			if err != nil {
				return nil, err
			}
			hash := fnv.New64()
			_, _ = hash.Write(text) // it takes all
			name += "-" + base64.URLEncoding.EncodeToString(hash.Sum(nil)[:6])
			c.names[string(data)], c.said[name] = name, p
		}
		name = c.names[string(data)]
		list[n] = doc{"$ref": "#/parameters/" + name}
	}
	return list, nil
}
