// A Baseten remote whose OAuth is somebody else's: oidc-provider, under our routes.
//
//   node server.mjs [--port N] [--access-token-seconds N] [--refresh-token-seconds N]
//                   [--device-code-seconds N] [--interval N]
//
// Prints one line {"remote_url": …, "port": …} when it is ready, and ends with its standard input.
// `GET /_log` lists the requests so far, oldest first.
import http from 'node:http';
import { parseArgs } from 'node:util';

// The library's notices go to standard output, where only the line above belongs.
console.info = console.error;
const { Provider } = await import('oidc-provider');

const AUTHORIZE = '/v1/users/auth/device/authorize';
const TOKEN = '/v1/users/auth/device/token';
const LOGOUT = '/v1/users/auth/logout';
const ME = '/v1/users/me';
const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code';

const options = numbers({
  'port': 0,
  'access-token-seconds': 3600,
  'refresh-token-seconds': 86400,
  'device-code-seconds': 600,
  'interval': 1,
});
process.stdin.resume().on('close', () => process.exit());
const server = http.createServer();
server.listen(options.port, '127.0.0.1', () => {
  const { port } = server.address();
  server.on('request', remote(port).callback());
  console.log(JSON.stringify({ remote_url: `http://localhost:${port}`, port }));
});

function remote(port) {
  const provider = new Provider(`http://api.localhost:${port}`, {
    clients: [{
      client_id: 'baseten-cli',
      client_name: 'Baseten CLI',
      token_endpoint_auth_method: 'none',
      grant_types: [DEVICE_GRANT, 'refresh_token'],
      redirect_uris: [],
      response_types: [],
    }],
    routes: { device_authorization: AUTHORIZE, token: TOKEN },
    features: { deviceFlow: { enabled: true }, devInteractions: { enabled: true } },
    // Our client asks for no scope; with none there is nothing to consent to, which is a refusal.
    extraParams: {
      default_scope: (ctx) => { ctx.oidc.params.scope ||= 'openid offline_access'; },
    },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    issueRefreshToken: () => true,
    rotateRefreshToken: true,
    ttl: {
      AccessToken: options['access-token-seconds'],
      RefreshToken: options['refresh-token-seconds'],
      DeviceCode: options['device-code-seconds'],
      IdToken: 3600,
      Interaction: 3600,
      Session: 86400,
      Grant: 86400,
    },
  });
  const log = [];
  provider.use((ctx, next) => logged(log, ctx, next));
  provider.use(paced(options.interval));
  provider.use((ctx, next) => management(provider, ctx, next));
  return provider;
}

/** Keeps what a test may ask about a request: never a token, a code or a header. */
async function logged(log, ctx, next) {
  if (ctx.path === '/_log') {
    ctx.body = log;
    return;
  }
  const entry = { at: Date.now(), method: ctx.method, host: ctx.host, path: ctx.path };
  log.push(entry);
  try {
    await next();
  } finally {
    const grant_type = ctx.oidc?.params?.grant_type;
    Object.assign(entry, grant_type && { grant_type }, { status: ctx.status });
    if (ctx.body?.error) entry.error = ctx.body.error;
  }
}

/** `interval` and `slow_down` (RFC 8628 section 3.5), and a page under the app's name, not the API's. */
function paced(interval) {
  const pace = new Map();
  return async (ctx, next) => {
    await next();
    if (ctx.path === AUTHORIZE && ctx.body?.device_code) {
      pace.set(ctx.body.device_code, { interval, last: Date.now() });
      ctx.body.interval = interval;
      for (const uri of ['verification_uri', 'verification_uri_complete']) {
        ctx.body[uri] = ctx.body[uri].replace('//api.', '//');
      }
    } else if (ctx.path === TOKEN && ctx.body?.error === 'authorization_pending') {
      const code = pace.get(ctx.oidc.params.device_code);
      // A timer may fire a little early at the other end.
      const tooFast = Date.now() - code.last < code.interval * 1000 - 50;
      code.last = Date.now();
      if (tooFast) {
        code.interval += 5;
        ctx.body = { error: 'slow_down', error_description: 'polled before the interval was over' };
      }
    }
  };
}

async function management(provider, ctx, next) {
  const me = ctx.path === ME && ctx.method === 'GET';
  const logout = ctx.path === LOGOUT && ctx.method === 'POST';
  if (!me && !logout) return next();
  const [, bearer] = /^Bearer (\S+)$/.exec(ctx.get('authorization')) ?? [];
  const token = bearer && await provider.AccessToken.find(bearer);
  // `find` also answers with tokens that expired a few seconds ago.
  if (!token || token.isExpired) {
    ctx.status = 401;
    ctx.body = { code: 'UNAUTHORIZED', message: 'The access token is unknown, expired or revoked' };
  } else if (me) {
    const email = token.accountId.includes('@') ? token.accountId : `${token.accountId}@example.com`;
    ctx.body = { user_id: token.accountId, email, name: null, workspace_name: 'Counterpart' };
  } else {
    await Promise.all([
      provider.AccessToken.revokeByGrantId(token.grantId),
      provider.RefreshToken.revokeByGrantId(token.grantId),
      provider.Grant.adapter.destroy(token.grantId),
    ]);
    ctx.status = 204;
  }
}

/** The options of the command line; each is a whole number with a default. */
function numbers(defaults) {
  const names = Object.keys(defaults);
  const { values } = parseArgs({
    options: Object.fromEntries(names.map((name) => [name, { type: 'string' }])),
  });
  const number = (name) => Number.parseInt(values[name] ?? defaults[name], 10);
  return Object.fromEntries(names.map((name) => [name, number(name)]));
}
