// An issuer of identity tokens that is somebody else's: oidc-provider, which signs JWTs for workloads
// and publishes its keys.
//
//   node issuer.mjs [--algorithm RS256|ES256] [--seconds N] [--not-before-seconds N]
//
// Prints one line {"issuer": …} when it is ready, and ends with its standard input. A workload gets
// its token from POST /token, form grant_type=client_credentials, client_secret=workload,
// client_id=<the subject>, resource=urn:audience:<the audience>.
import { generateKeyPairSync } from 'node:crypto';
import http from 'node:http';
import { parseArgs } from 'node:util';

// The library's notices go to standard output, where only the line above belongs.
console.info = console.error;
const { Provider, errors } = await import('oidc-provider');

const AUDIENCE = 'urn:audience:';
const SUBJECTS = ['repo:acme/models:ref:refs/heads/main', 'repo:acme/other:ref:refs/heads/main'];

const { values: options } = parseArgs({
  options: {
    'algorithm': { type: 'string', default: 'RS256' },
    'seconds': { type: 'string', default: '600' },
    'not-before-seconds': { type: 'string' },
  },
});
process.stdin.resume().on('close', () => process.exit());
const server = http.createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  server.on('request', provider(issuer).callback());
  console.log(JSON.stringify({ issuer }));
});

function provider(issuer) {
  return new Provider(issuer, {
    clients: SUBJECTS.map((client_id) => ({
      client_id,
      client_secret: 'workload',
      token_endpoint_auth_method: 'client_secret_post',
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
    })),
    jwks: { keys: [key('rsa', { modulusLength: 2048 }), key('ec', { namedCurve: 'P-256' })] },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: { enabled: true, getResourceServerInfo: (_, resource) => audience(resource) },
    },
    formats: { customizers: { jwt: (_, __, jwt) => delay(jwt) } },
  });
}

function key(type, parameters) {
  return { ...generateKeyPairSync(type, parameters).privateKey.export({ format: 'jwk' }), kid: type };
}

/** A token for this audience. */
function audience(resource) {
  if (!resource.startsWith(AUDIENCE)) throw new errors.InvalidTarget();
  return {
    audience: resource.slice(AUDIENCE.length),
    scope: '',
    accessTokenFormat: 'jwt',
    accessTokenTTL: Number.parseInt(options.seconds, 10),
    jwt: { sign: { alg: options.algorithm } },
  };
}

function delay(jwt) {
  const wait = options['not-before-seconds'];
  if (wait) jwt.payload.nbf = jwt.payload.iat + Number.parseInt(wait, 10);
  return jwt;
}
