// A certified OpenID Connect server on 127.0.0.1, with clients and users of two tenants.
//
// node provider.mjs PORT DIRECTORY KEY...
//
// Each KEY is the id of a key, kept in DIRECTORY and made there on first use. All are published,
// the first one signs: so a key is rotated, and then withdrawn, by a restart.
// CLIENT_SECRET in the environment is the secret of the two clients that are programs.

import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { Provider } from 'oidc-provider';

const [port, directory, ...kids] = process.argv.slice(2);

const API = 'urn:example:api';
const TENANTS = { // of whoever a token is about: the first one is chosen, the list is all of them
  alice: ['acme', 'globex'],
  'acme-jobs': ['acme', 'globex'],
  'globex-jobs': ['globex'],
};

function tenantClaims(subject) {
  const tenants = TENANTS[subject];
  return { tenant_id: tenants[0], tenants };
}

function privateKey(kid) {
  const file = join(directory, `${kid}.json`);
  if (!existsSync(file)) {
    // By way of PEM: Node.js 20 may wait for itself for ever where it exports a key as a JWK while
    // it collects what is left of the key's generation.
    const { privateKey: pem } = generateKeyPairSync('rsa', {
      modulusLength: 2048,
      publicKeyEncoding: { type: 'spki', format: 'pem' },
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    });
    const key = { ...createPrivateKey(pem).export({ format: 'jwk' }), kid, alg: 'RS256', use: 'sig' };
    writeFileSync(file, JSON.stringify(key), { mode: 0o600 });
  }
  return JSON.parse(readFileSync(file, 'utf8'));
}

function program(client_id) {
  return {
    client_id,
    client_secret: process.env.CLIENT_SECRET,
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
  };
}

const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: { keys: kids.map(privateKey) },
  clients: [
    program('acme-jobs'),
    program('globex-jobs'),
    {
      // Named as the API is: then an ID token for it has the very audience of an access token.
      client_id: API,
      application_type: 'native',
      redirect_uris: ['http://127.0.0.1/callback'],
      token_endpoint_auth_method: 'none',
    },
  ],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_, resource) => ({
        scope: '',
        audience: resource,
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  findAccount: (_, sub) => ({
    accountId: sub,
    claims: () => ({ sub, ...tenantClaims(sub) }),
  }),
  extraTokenClaims: (_, token) => tenantClaims(token.accountId ?? token.clientId),
  // An ID token has the claims of an access token too: it must be refused for what it is.
  claims: { openid: ['sub', 'tenant_id', 'tenants'] },
});

provider.listen(Number(port), '127.0.0.1');
