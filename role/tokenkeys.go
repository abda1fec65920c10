package role

import (
	"bytes"
	"context"
	"crypto"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/authn"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/watch"
)

// tokenKeysKey is where servers that share a store say with which keys their tokens are verified: each its own. None of that is secret.
const tokenKeysKey = watch.Prefix + "lighter/tokens/servers/"

const (
	// adoptWithin is how long a server waits before it signs with a key that it has told the others of.
	adoptWithin = 10 * time.Second
	// tokensKept is how long tokens live at most by what pods get; whoever asks for longer ones gets those that end with their key.
	tokensKept = 366 * 24 * time.Hour
)

// rotateTokens replaces the key that signs service account tokens. Tokens of before stay good.
func (s *Server) rotateTokens(ctx context.Context) error {
	key, public, err := s.PKI.NewTokens()
	if err != nil {
		return err
	}
	if s.several() {
		if err := s.publishTokenKeys(ctx, public); err != nil {
			return err
		}
		if wait(ctx, adoptWithin); ctx.Err() != nil {
			return ctx.Err()
		}
	}
	used := map[string]bool{} // by Secrets' tokens, which have no end
	for _, secret := range view(s, client.Secrets).List("") {
		if secret.Type == corev1.SecretTypeServiceAccountToken {
			used[authn.KeyOf(string(secret.Data[corev1.ServiceAccountTokenKey]))] = true
		}
	}
	err = s.PKI.UseTokens(key, func(k pki.TokenKey) bool {
		id, err := authn.KeyID(k.Public)
		return err != nil || used[id] || time.Since(k.Retired) < tokensKept
	})
	if err != nil {
		return err
	}
	s.Log.Info("service account tokens are signed with a new key", "object", len(s.PKI.TokenKeys()))
	if err := s.useTokenKeys(ctx); err != nil || !s.several() {
		return err
	}
	return s.publishTokenKeys(ctx)
}

// useTokenKeys has tokens signed and verified with the keys that there are by now.
func (s *Server) useTokenKeys(ctx context.Context) error {
	var further []crypto.PublicKey
	for _, k := range s.PKI.TokenKeys() {
		further = append(further, k.Public)
	}
	if s.several() {
		entries, _, err := s.encryption.store.Store.List(ctx, tokenKeysKey, store.Page{})
		if err != nil {
			return err
		}
		for _, e := range entries {
			keys, err := pki.ParseTokenKeys(e.Value)
			if err != nil {
				return fmt.Errorf("%s: %w", e.Key, err)
			}
			for _, k := range keys {
				further = append(further, k.Public)
			}
		}
	}
	return s.tokens.Use(s.PKI.TokenSigner(), further)
}

// publishTokenKeys tells the other servers of this one's keys, and of those that it is about to have.
func (s *Server) publishTokenKeys(ctx context.Context, more ...pki.TokenKey) error {
	var file bytes.Buffer
	for _, k := range append(s.PKI.TokenKeys(), more...) {
		data, err := k.PEM()
		if err != nil {
			return err
		}
		file.Write(data)
	}
	key := tokenKeysKey + s.identity
	_, err := s.encryption.store.Store.Commit(ctx, store.Txn{Ops: []store.Op{{Key: key, Value: file.Bytes(), Expect: store.Any}}})
	return err
}

// keepTokenKeys replaces this server's key when it is due, and takes over those of the others, until ctx ends.
func (s *Server) keepTokenKeys(ctx context.Context) error {
	if s.several() {
		go s.followTokenKeys(ctx)
	}
	for delay := time.Second; ; {
		pause := time.Hour // the calendar goes on while the machine sleeps, a timer does not
		due := time.Until(pki.TokenKeyDue(s.PKI.TokenKeys()[0].Since, s.PKI.CA.LeafLife()).Round(0))
		switch outside := s.several() && s.member == nil; { // others than Lighter may have to know the key
		case due > 0 || outside:
			pause = min(pause, max(due, time.Second))
		default:
			err := s.rotateTokens(ctx)
			if err == nil {
				delay = time.Second
				continue
			}
			if ctx.Err() == nil {
				s.Log.Warn("the key of service account tokens is not renewed", "err", err)
			}
			pause, delay = delay, min(2*delay, 10*time.Minute)
		}
		if wait(ctx, pause); ctx.Err() != nil {
			return nil
		}
	}
}

// followTokenKeys takes over what the other servers publish.
func (s *Server) followTokenKeys(ctx context.Context) {
	engine := s.encryption.store.Store
	for ctx.Err() == nil {
		at, err := engine.Revision(ctx)
		if err == nil {
			err = s.publishTokenKeys(ctx)
		}
		if err == nil {
			err = s.useTokenKeys(ctx)
		}
		if err == nil {
			for _, werr := range engine.Watch(ctx, tokenKeysKey, at) {
				if err = werr; err == nil {
					err = s.useTokenKeys(ctx)
				}
				if err != nil {
					break
				}
			}
		}
		if ctx.Err() == nil && err != nil {
			s.Log.Error("token keys of the other servers not taken", "err", err)
		}
		wait(ctx, time.Second)
	}
}
