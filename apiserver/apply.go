package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/yamljson"
	"github.com/lighter-k8s/lighter/registry"
)

// apply is a server-side apply: a configuration in YAML or, as clients in Go send it, in JSON, which is YAML too.
func (s *Server) apply(w http.ResponseWriter, r *http.Request, t *route, q registry.Request, f form, data []byte, level validationLevel) error {
	config, twice, err := configuration(t.info, data)
	if err != nil {
		return err
	}
	c := registry.Configuration{Object: config, Size: len(data), Force: force(t) != nil && *force(t), Create: func(ctx context.Context) error {
		a := t.attributes()
		a.User, a.Verb = q.User, "create"
		return s.allow(ctx, a)
	}}
	if twice != nil && level == metav1.FieldValidationStrict {
		return apierrors.NewBadRequest(fmt.Sprintf("error strict decoding YAML: %v", twice))
	}
	got, created, err := s.Registry.Apply(r.Context(), q, c)
	if err != nil {
		return err
	}
	if twice != nil && level == metav1.FieldValidationWarn {
		for line := range strings.Lines(strings.TrimPrefix(twice.Error(), "error converting YAML to JSON: yaml: unmarshal errors:\n")) {
			q.Warn(strings.TrimSpace(line))
		}
	}
	i, code := t.info, http.StatusOK
	if t.subresource == "scale" {
		i = registry.ScaleInfo
	}
	if created {
		code = http.StatusCreated
	}
	return s.answerWritten(w, r, code, f, i, q, got)
}

// configuration reads what is applied; twice is not nil when keys are given more than once, of which the last counts.
func configuration(i *api.Info, data []byte) (config *unstructured.Unstructured, twice, err error) {
	if err := crowded(i, data); err != nil && json.Valid(data) {
		return nil, nil, err
	}
	config = &unstructured.Unstructured{}
	strict, err := kjson.UnmarshalStrict(data, &config.Object)
	if err == nil && len(strict) == 0 && config.Object != nil {
		return config, nil, nil
	}
	doc, twice, err := yamljson.Convert(data)
	if errors.Is(err, yamljson.ErrTooMany) {
		return nil, nil, apierrors.NewRequestEntityTooLargeError(err.Error())
	}
	if err := crowded(i, doc); err != nil {
		return nil, nil, err
	}
	if twice != nil {
		twice = fmt.Errorf("error converting YAML to JSON: %w", twice)
	}
	if err == nil {
		config.Object = nil
		err = kjson.UnmarshalCaseSensitivePreserveInts(doc, &config.Object)
	}
	if err != nil {
		if said := yaml.Unmarshal(data, &map[string]any{}); said != nil {
			err = said // in the words that clients know
		}
		if text, ok := strings.CutPrefix(err.Error(), "error converting YAML to JSON: "); ok {
			return nil, nil, apierrors.NewBadRequest("error encoding patch: " + text)
		}
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
	}
	if config.Object == nil {
		config.Object = map[string]any{}
	}
	return config, twice, nil
}
