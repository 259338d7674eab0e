/** Which tokens the admin port takes: in the configuration, and given to a command that calls it. */

export const ADMIN_TOKEN = /^[\x21-\x7e]{1,512}$/;
/** Follows the token's name. */
export const ADMIN_TOKEN_RULE = 'must be at most 512 visible ASCII characters without spaces';
